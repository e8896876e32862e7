phy_test(compare_codes SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_compare_codes.c)
phy_test(coverage SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_coverage.c LIBRARIES PkgConfig::XXHASH)
