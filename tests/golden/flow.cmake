phy_test(flow_golden SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_flow_golden.c)
