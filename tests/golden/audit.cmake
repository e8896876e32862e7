phy_test(audit_mutations SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_audit_mutations.c)

phy_test(audit_reference SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_audit_reference.c)
set_tests_properties(audit_reference PROPERTIES SKIP_RETURN_CODE 77 ENVIRONMENT "PHY_MODELS=${CMAKE_BINARY_DIR}/imported"
  FIXTURES_REQUIRED real_models)
