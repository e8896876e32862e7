# What Hugging Face's own packages make of our output.
phy_script_test(python.safetensors_opens_what_surgery_wrote bash ${CMAKE_CURRENT_LIST_DIR}/safetensors_opens_what_surgery_wrote.sh)
# By hand: cmake --build build --target check-transformers
add_custom_target(check-transformers USES_TERMINAL
  COMMAND ${CMAKE_COMMAND} -E env PHYSARIUM=$<TARGET_FILE:physarium> PHY_SOURCE=${CMAKE_SOURCE_DIR} PHY_BUILD=${CMAKE_BINARY_DIR}
          bash ${CMAKE_CURRENT_LIST_DIR}/check_transformers.sh)
phy_script_test(python.surgery_agrees_with_flow_ref bash ${CMAKE_CURRENT_LIST_DIR}/surgery_agrees_with_flow_ref.sh)
phy_script_test(python.ranking_agrees_with_rank_ref bash ${CMAKE_CURRENT_LIST_DIR}/ranking_agrees_with_rank_ref.sh)
