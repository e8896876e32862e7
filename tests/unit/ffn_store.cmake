phy_test(ffn_store SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_ffn_store.c)
phy_test(quantize SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_quantize.c)
phy_test(vindex SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_vindex.c)
