phy_test(surgery_run SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_surgery_run.c)
