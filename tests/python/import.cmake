find_program(PHY_PYTHON3 python3)
if(PHY_PYTHON3)
  phy_script_test(python.import_tokenizers ${PHY_PYTHON3} ${CMAKE_CURRENT_LIST_DIR}/import_tokenizers.py)
endif()
