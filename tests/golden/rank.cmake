phy_test(surgery_rank SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_surgery_rank.c)
