# phy_room(NAME SOURCES ... USES rooms... LIBRARIES targets...)
#
# One folder of src/ as an object library. A room sees its own headers, the public ones, and those of the rooms that it
# USES, directly or through them, as "room/header.h"; another room's header is not on its path, so a wrong include fails.
add_library(phy_flags INTERFACE)
# What the undefined-behaviour sanitizer puts around a shift makes gcc see conversions that are not in the source.
target_compile_options(phy_flags INTERFACE -Wall -Wextra $<$<NOT:$<BOOL:${PHY_SANITIZE}>>:-Wconversion> -Wshadow -Wstrict-prototypes -ffp-contract=off
                                           $<$<BOOL:${PHY_WERROR}>:-Werror>)
if(PHY_SANITIZE)
  target_compile_options(phy_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  target_link_options(phy_flags INTERFACE -fsanitize=address,undefined)
endif()
target_include_directories(phy_flags INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>)

set_property(GLOBAL PROPERTY PHY_ROOMS "")

function(phy_room name)
  cmake_parse_arguments(ROOM "" "" "SOURCES;USES;LIBRARIES" ${ARGN})
  set(window ${CMAKE_BINARY_DIR}/rooms/${name})
  file(MAKE_DIRECTORY ${window})
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${window}/${name} SYMBOLIC)
  add_library(phy_${name} OBJECT ${ROOM_SOURCES})
  target_include_directories(phy_${name} PUBLIC ${window})
  target_link_libraries(phy_${name} PUBLIC phy_flags Threads::Threads)
  foreach(used ${ROOM_USES})
    target_link_libraries(phy_${name} PUBLIC phy_${used})
  endforeach()
  target_link_libraries(phy_${name} PRIVATE ${ROOM_LIBRARIES})
  set_property(GLOBAL APPEND PROPERTY PHY_ROOMS ${name})
  set_property(GLOBAL APPEND PROPERTY PHY_ROOM_LIBRARIES ${ROOM_LIBRARIES})
endfunction()
