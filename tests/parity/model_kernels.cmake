# The kernels of a forward pass.
foreach(kernel matmul attention activation)
  phy_test(${kernel}_parity SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_${kernel}.c)
endforeach()
phy_emulate_amx(matmul_parity)
