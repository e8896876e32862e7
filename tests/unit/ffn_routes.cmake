phy_test(ffn_routes SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_ffn_routes.c)
