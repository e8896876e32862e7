# Needs the corpus of cases; PHY_PYTHON3 was looked for with it.
if(PHY_PYTHON3)
  phy_script_test(cli_inspect bash ${CMAKE_CURRENT_LIST_DIR}/inspect.sh ${CMAKE_CURRENT_LIST_DIR}/inspect.expected)
  set_tests_properties(cli_inspect PROPERTIES FIXTURES_REQUIRED checkpoint_cases)
endif()
