phy_test(surgery_run SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_surgery_run.c)
phy_test(surgery_scale SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_surgery_scale.c)
phy_test(surgery_devices SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_surgery_devices.c)
