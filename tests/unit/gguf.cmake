phy_test(gguf SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_gguf.c)
# Over the corpus that checkpoint_cases_written writes.
add_executable(test_gguf_cases ${CMAKE_CURRENT_LIST_DIR}/test_gguf_cases.c)
target_link_libraries(test_gguf_cases PRIVATE phy_all PkgConfig::CMOCKA PkgConfig::CJSON)
target_include_directories(test_gguf_cases PRIVATE ${CMAKE_SOURCE_DIR}/tests)
target_compile_options(test_gguf_cases PRIVATE -Wno-conversion)
add_test(NAME gguf_cases COMMAND test_gguf_cases ${CMAKE_BINARY_DIR}/cases)
set_tests_properties(gguf_cases PROPERTIES SKIP_RETURN_CODE 77 FIXTURES_REQUIRED checkpoint_cases)
