if(PHY_PYTHON3)
  file(COPY ${CMAKE_CURRENT_LIST_DIR}/ffn_store ${CMAKE_CURRENT_LIST_DIR}/vindex ${CMAKE_CURRENT_LIST_DIR}/bitmap
       DESTINATION ${CMAKE_BINARY_DIR}/cases)
  phy_fuzz(ffn_store .index.json ffn_store)
  phy_fuzz(vindex .index.json vindex)
  phy_fuzz(bitmap .bitmap bitmap)
endif()
