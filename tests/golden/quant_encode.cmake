phy_test(quant_encode SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_quant_encode.c)
