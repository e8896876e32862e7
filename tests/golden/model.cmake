phy_test(model_golden SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_model_golden.c)
# Needs the two published models in $PHY_MODELS, imported (NAME/) or as NAME.gguf.
phy_test(model_real SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_model_real.c)
set_tests_properties(model_real PROPERTIES SKIP_RETURN_CODE 77)
