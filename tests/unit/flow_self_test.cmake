phy_test(flow_self_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_flow_self_test.c)
