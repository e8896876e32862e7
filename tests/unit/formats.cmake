phy_test(json_scan SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_json_scan.c)
phy_test(safetensors SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_safetensors.c)
phy_test(checkpoint SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_checkpoint.c)
