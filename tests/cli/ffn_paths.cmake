phy_script_test(cli.paths_compute_a_tiny_model bash ${CMAKE_CURRENT_LIST_DIR}/paths_compute_a_tiny_model.sh)
phy_script_test(cli.every_path_knows_the_capital_of_france bash ${CMAKE_CURRENT_LIST_DIR}/every_path_knows_the_capital_of_france.sh
                ${CMAKE_BINARY_DIR}/imported)
# Half a minute without a sanitizer; the tiny models show it the same code.
set_tests_properties(cli.every_path_knows_the_capital_of_france PROPERTIES FIXTURES_REQUIRED real_models LABELS "no-sanitizer")
