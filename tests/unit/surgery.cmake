phy_test(surgery_units SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_surgery_units.c)
phy_test(surgery_journal SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_surgery_journal.c)
phy_test(surgery_output SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_surgery_output.c)
