# libphysarium, static and shared, from the objects of all rooms; and phy_all, the same objects for tests, which reach
# what the shared library hides.
get_property(rooms GLOBAL PROPERTY PHY_ROOMS)
get_property(room_libraries GLOBAL PROPERTY PHY_ROOM_LIBRARIES)
list(REMOVE_DUPLICATES room_libraries)
set(objects "")
foreach(room ${rooms})
  list(APPEND objects $<TARGET_OBJECTS:phy_${room}>)
endforeach()

add_library(physarium_static STATIC ${objects})
add_library(physarium_shared SHARED ${objects})
foreach(kind static shared)
  set_target_properties(physarium_${kind} PROPERTIES OUTPUT_NAME physarium EXPORT_NAME physarium_${kind})
  target_link_libraries(physarium_${kind} PRIVATE ${room_libraries} Threads::Threads m ${CMAKE_DL_LIBS})
  target_include_directories(physarium_${kind} PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>
                                                      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  if(PHY_SANITIZE)
    target_link_options(physarium_${kind} PUBLIC -fsanitize=address,undefined)
  endif()
endforeach()
set_target_properties(physarium_shared PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})

add_library(phy_all INTERFACE)
target_link_libraries(phy_all INTERFACE physarium_static phy_flags Threads::Threads)
foreach(room ${rooms})
  target_include_directories(phy_all INTERFACE ${CMAKE_BINARY_DIR}/rooms/${room})
endforeach()
