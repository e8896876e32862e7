# The kernels on blocks and on bitmaps.
foreach(kernel matmul int8 walk backend)
  phy_test(block_${kernel}_parity SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_block_${kernel}.c)
endforeach()
phy_emulate_amx(block_int8_parity)
phy_emulate_amx(block_backend_parity)
phy_test(bitmap_matmul_parity SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_bitmap_matmul.c)
