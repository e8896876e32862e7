phy_script_test(audit_is_stable_and_fails_when_it_should bash ${CMAKE_CURRENT_LIST_DIR}/audit_is_stable.sh)
phy_script_test(audit_of_published_models_meets_its_bounds bash ${CMAKE_CURRENT_LIST_DIR}/audit_meets_bounds.sh
  ${CMAKE_BINARY_DIR}/imported)
set_tests_properties(audit_of_published_models_meets_its_bounds PROPERTIES FIXTURES_REQUIRED real_models
  LABELS "no-sanitizer")
