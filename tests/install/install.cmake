# The installed tree, the public headers and the libraries' symbols, as a stranger's build sees them.
set(compilers "PHY_CC=${CMAKE_C_COMPILER};PHY_CXX=c++;PHY_CMAKE=${CMAKE_COMMAND};PHY_SANITIZE=${PHY_SANITIZE}")
foreach(script headers_compile_alone embedding_program_runs_installed)
  phy_script_test(install.${script} bash ${CMAKE_CURRENT_LIST_DIR}/${script}.sh)
  set_property(TEST install.${script} APPEND PROPERTY ENVIRONMENT ${compilers})
endforeach()
phy_script_test(install.no_symbol_without_prefix bash ${CMAKE_CURRENT_LIST_DIR}/no_symbol_without_prefix.sh
                $<TARGET_FILE:physarium_shared> $<TARGET_FILE:physarium_static> ${CMAKE_NM})
