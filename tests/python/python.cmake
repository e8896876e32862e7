# What Hugging Face's own packages make of our output.
phy_script_test(python.safetensors_opens_what_surgery_wrote bash ${CMAKE_CURRENT_LIST_DIR}/safetensors_opens_what_surgery_wrote.sh)
