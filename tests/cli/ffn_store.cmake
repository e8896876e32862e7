phy_script_test(cli.ffn_store bash ${CMAKE_CURRENT_LIST_DIR}/ffn_store.sh)
phy_script_test(cli.quantize_kill_resume bash ${CMAKE_CURRENT_LIST_DIR}/quantize_kill_resume.sh 5)
