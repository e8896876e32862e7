phy_test(tokenizer SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_tokenizer.c)
