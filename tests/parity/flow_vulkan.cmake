# The backend suite on the CPU and on every Vulkan driver found, each in a process of its own: the loader reads its
# environment once. A driver that is not there is a skip that ctest counts and the test prints.
add_executable(test_flow_backend ${CMAKE_CURRENT_LIST_DIR}/test_flow_backend.c)
target_link_libraries(test_flow_backend PRIVATE phy_all PkgConfig::CMOCKA PkgConfig::CJSON)
target_include_directories(test_flow_backend PRIVATE ${CMAKE_SOURCE_DIR}/tests)
target_compile_definitions(test_flow_backend PRIVATE PHY_TEST_DATA="${CMAKE_SOURCE_DIR}/tests")
target_compile_options(test_flow_backend PRIVATE -Wno-conversion)
set_target_properties(test_flow_backend PROPERTIES ENABLE_EXPORTS ON)

file(GLOB lavapipe_icd /usr/share/vulkan/icd.d/lvp_icd*.json /usr/local/share/vulkan/icd.d/lvp_icd*.json)
file(GLOB swiftshader_icd /usr/lib*/chromium*/vk_swiftshader_icd.json /opt/*/chrome/vk_swiftshader_icd.json)
foreach(driver lavapipe swiftshader)
  list(APPEND ${driver}_icd /no-${driver}-driver.json)
  list(GET ${driver}_icd 0 icd)
  set(${driver}_environment VK_DRIVER_FILES=${icd} VK_ICD_FILENAMES=${icd})
endforeach()

# phy_backend_test(NAME device variables...): "hardware" is every device of the machine's own drivers but CPUs.
function(phy_backend_test name device)
  add_test(NAME ${name} COMMAND test_flow_backend ${device})
  set_tests_properties(${name} PROPERTIES ENVIRONMENT "${ARGN}" SKIP_RETURN_CODE 77 TIMEOUT 300)
endfunction()
phy_backend_test(flow_backend_cpu cpu)
phy_backend_test(flow_backend_hardware hardware)
phy_backend_test(flow_backend_lavapipe vulkan ${lavapipe_environment})
phy_backend_test(flow_backend_swiftshader vulkan ${swiftshader_environment})
phy_backend_test(flow_backend_lavapipe_validated vulkan ${lavapipe_environment} PHY_VK_VALIDATE=1)
