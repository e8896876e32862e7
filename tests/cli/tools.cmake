# The tools and benchmarks that the figures come from.
phy_script_test(tools.make_checkpoint_has_the_published_shapes bash ${CMAKE_CURRENT_LIST_DIR}/make_checkpoint_has_the_published_shapes.sh)
phy_script_test(tools.bench_surgery_measures_both_sides bash ${CMAKE_CURRENT_LIST_DIR}/bench_surgery_measures_both_sides.sh)
phy_script_test(tools.get_model_refuses_other_bytes bash ${CMAKE_CURRENT_LIST_DIR}/get_model_refuses_other_bytes.sh)
