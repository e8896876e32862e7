phy_test(json_write SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_json_write.c)
phy_test(import SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_import.c)
