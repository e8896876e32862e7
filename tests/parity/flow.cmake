phy_test(flow_parity SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_flow_parity.c)
