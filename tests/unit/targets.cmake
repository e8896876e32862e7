phy_test(targets SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_targets.c)
