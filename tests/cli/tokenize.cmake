phy_script_test(cli_tokenize bash ${CMAKE_CURRENT_LIST_DIR}/tokenize.sh ${CMAKE_CURRENT_LIST_DIR}/tokenize.expected)
