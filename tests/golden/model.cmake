phy_test(model_golden SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_model_golden.c)

# The published models, imported once for every test that runs them.
set(real_models ${CMAKE_BINARY_DIR}/imported)
phy_script_test(real_models_imported bash ${CMAKE_CURRENT_LIST_DIR}/import_real_models.sh ${real_models})
set_tests_properties(real_models_imported PROPERTIES FIXTURES_SETUP real_models)
phy_test(model_real SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_model_real.c)
# Two models over some hundred tokens each: minutes under the sanitizers, which see the same code in model_golden.
set_tests_properties(model_real PROPERTIES SKIP_RETURN_CODE 77 ENVIRONMENT "PHY_MODELS=${real_models}"
  FIXTURES_REQUIRED real_models LABELS "no-sanitizer")

# Its first two windows always; the whole text, a minute, with `ctest -C Long`.
phy_test(model_perturbed SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_model_perturbed.c)
add_test(NAME model_perturbed_whole CONFIGURATIONS Long COMMAND test_model_perturbed)
set_tests_properties(model_perturbed model_perturbed_whole PROPERTIES SKIP_RETURN_CODE 77 FIXTURES_REQUIRED real_models
  ENVIRONMENT "PHY_MODELS=${real_models}" LABELS "no-sanitizer")
set_tests_properties(model_perturbed_whole PROPERTIES ENVIRONMENT "PHY_MODELS=${real_models};PHY_WHOLE_TEXT=1")
