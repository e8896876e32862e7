phy_test(tokenizer_golden SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_tokenizer_golden.c)
