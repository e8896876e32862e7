if(PHY_PYTHON3)
  file(COPY ${CMAKE_SOURCE_DIR}/tests/golden/model DESTINATION ${CMAKE_BINARY_DIR}/cases PATTERN "*.safetensors" EXCLUDE
       PATTERN "*.bin" EXCLUDE)
  phy_fuzz(config .json model)
endif()
