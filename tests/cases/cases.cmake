# The corpus of good and malformed checkpoints: written anew into the build tree, then held against `physarium inspect`.
# Sanitizers need more memory than the rules allow, so it is not measured with them.
find_program(PHY_PYTHON3 python3)
if(PHY_PYTHON3)
  set(corpus ${CMAKE_BINARY_DIR}/cases)
  add_test(NAME checkpoint_cases_written COMMAND ${PHY_PYTHON3} ${CMAKE_CURRENT_LIST_DIR}/make_cases.py ${corpus})
  set_tests_properties(checkpoint_cases_written PROPERTIES FIXTURES_SETUP checkpoint_cases)
  if(PHY_SANITIZE)
    set(limits --rss-mib 0 --prefixes 6)
  else()
    set(limits --rss-mib 256)
  endif()
  phy_script_test(checkpoint_cases ${PHY_PYTHON3} ${CMAKE_CURRENT_LIST_DIR}/run_cases.py ${limits}
                  $<TARGET_FILE:physarium> ${corpus})
  set_tests_properties(checkpoint_cases PROPERTIES FIXTURES_REQUIRED checkpoint_cases)
  if(NOT PHY_SANITIZE)
    phy_script_test(large_headers ${PHY_PYTHON3} ${CMAKE_CURRENT_LIST_DIR}/large_headers.py $<TARGET_FILE:physarium>
                    ${CMAKE_BINARY_DIR}/large_headers)
  endif()
endif()
