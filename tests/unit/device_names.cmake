phy_test(device_names SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_device_names.c)
