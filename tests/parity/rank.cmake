phy_test(rank_parity SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_rank_parity.c)
