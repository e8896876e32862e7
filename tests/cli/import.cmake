find_program(PHY_PYTHON3 python3)
if(PHY_PYTHON3)
  phy_script_test(cli.import_small_models ${PHY_PYTHON3} ${CMAKE_CURRENT_LIST_DIR}/import_small_models.py)
endif()
