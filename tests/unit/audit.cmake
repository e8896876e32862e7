phy_test(audit SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_audit.c)
