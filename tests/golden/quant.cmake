phy_test(quant_golden SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_quant_golden.c)
