if(PHY_PYTHON3)
  file(COPY ${CMAKE_CURRENT_LIST_DIR}/tokenizer DESTINATION ${CMAKE_BINARY_DIR}/cases)
  phy_fuzz(tokenizer .tokenizer.json tokenizer)
endif()
