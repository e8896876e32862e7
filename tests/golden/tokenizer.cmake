phy_test(tokenizer_golden SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_tokenizer_golden.c)
set_tests_properties(tokenizer_golden PROPERTIES ENVIRONMENT "PHY_MODELS=${CMAKE_BINARY_DIR}/imported" FIXTURES_REQUIRED
  real_models)

# A development check, where Python has the module: the ids of Hugging Face's library on random text and pipelines.
add_executable(tokenize_lines ${CMAKE_CURRENT_LIST_DIR}/tokenize_lines.c)
target_link_libraries(tokenize_lines PRIVATE phy_all)
target_compile_options(tokenize_lines PRIVATE -Wno-conversion)
phy_script_test(tokenizer_compare bash -c "exec \"\${PHY_PYTHON:-python3}\" \"$@\"" -
  ${CMAKE_CURRENT_LIST_DIR}/compare_tokenizers.py $<TARGET_FILE:tokenize_lines> ${CMAKE_CURRENT_LIST_DIR}/tokenizer)
