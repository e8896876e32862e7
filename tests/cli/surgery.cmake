phy_script_test(cli.kill_resume bash ${CMAKE_CURRENT_LIST_DIR}/kill_resume.sh 8)
phy_script_test(cli.surgery_stops_and_says_so bash ${CMAKE_CURRENT_LIST_DIR}/surgery_stops_and_says_so.sh)
# A hundred points, by hand and in CI: cmake --build build --target check-kill-resume
add_custom_target(check-kill-resume USES_TERMINAL
  COMMAND ${CMAKE_COMMAND} -E env PHYSARIUM=$<TARGET_FILE:physarium> PHY_SOURCE=${CMAKE_SOURCE_DIR}
          bash ${CMAKE_CURRENT_LIST_DIR}/kill_resume.sh 100)
find_program(PHY_PYTHON3 python3)
if(PHY_PYTHON3)
  phy_script_test(cli.surgery_eval ${PHY_PYTHON3} ${CMAKE_CURRENT_LIST_DIR}/surgery_eval.py)
endif()
