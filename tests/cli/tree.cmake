# The source tree itself: formatting, shell scripts, documents.
phy_script_test(tree.c_files_are_formatted bash ${CMAKE_SOURCE_DIR}/tools/format-check)
phy_script_test(tree.scripts_pass_shellcheck bash ${CMAKE_CURRENT_LIST_DIR}/scripts_pass_shellcheck.sh)
phy_script_test(docs.options_are_documented_and_completed bash ${CMAKE_CURRENT_LIST_DIR}/options_are_documented_and_completed.sh)
phy_script_test(docs.man_page_renders_without_warnings bash ${CMAKE_CURRENT_LIST_DIR}/man_page_renders_without_warnings.sh)
phy_script_test(docs.links_lead_somewhere bash ${CMAKE_CURRENT_LIST_DIR}/links_lead_somewhere.sh)
