phy_test(vk_probe SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_vk_probe.c)
