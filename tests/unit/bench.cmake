phy_test(bench SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_bench.c)
phy_emulate_amx(bench) # its peaks
