phy_test(report SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_report.c)
