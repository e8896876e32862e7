# A loader that is not there: dlopen finds no libvulkan.
add_library(no_vulkan_loader MODULE ${CMAKE_CURRENT_LIST_DIR}/no_vulkan_loader.c)
phy_script_test(cli.devices_lists_what_the_machine_has
  ${CMAKE_CURRENT_LIST_DIR}/devices_lists_what_the_machine_has.sh $<TARGET_FILE:no_vulkan_loader> $<BOOL:${PHY_SANITIZE}>)
phy_script_test(shaders.round_every_operation_on_its_own
  ${CMAKE_CURRENT_LIST_DIR}/shaders_round_every_operation_on_its_own.sh)
phy_script_test(cli.forms_of_devices_are_forced_by_name bash ${CMAKE_CURRENT_LIST_DIR}/forms_of_devices_are_forced_by_name.sh)
