# libphysarium, static and shared, from the objects of all rooms; phy_all, the same objects for tests, which reach what the
# shared library hides; and what `cmake --install` puts beside the program.
include(CMakePackageConfigHelpers)

get_property(rooms GLOBAL PROPERTY PHY_ROOMS)
get_property(room_libraries GLOBAL PROPERTY PHY_ROOM_LIBRARIES)
list(REMOVE_DUPLICATES room_libraries)
set(objects "")
foreach(room ${rooms})
  list(APPEND objects $<TARGET_OBJECTS:phy_${room}>)
endforeach()

# The pkg-config module behind each imported target that a room may link: a static library's user needs them too.
set(modules_of_PkgConfig::CJSON libcjson)
set(modules_of_PkgConfig::XXHASH libxxhash)
set(modules_of_PkgConfig::ZLIB zlib)
set(modules_of_PkgConfig::PCRE2 libpcre2-8)
set(modules_of_PkgConfig::UTF8PROC libutf8proc)
set(static_modules "")
foreach(library ${room_libraries})
  if(modules_of_${library})
    list(APPEND static_modules ${modules_of_${library}})
  elseif(library MATCHES "::")
    message(FATAL_ERROR "tools/cmake/PhyLibrary.cmake does not know the pkg-config module of ${library}")
  endif()
endforeach()

add_library(physarium_static STATIC ${objects})
add_library(physarium_shared SHARED ${objects})
foreach(kind static shared)
  set_target_properties(physarium_${kind} PROPERTIES OUTPUT_NAME physarium EXPORT_NAME physarium_${kind})
  target_include_directories(physarium_${kind} PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>
                                                      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  if(PHY_SANITIZE)
    target_link_options(physarium_${kind} PUBLIC $<BUILD_INTERFACE:-fsanitize=address,undefined>)
  endif()
endforeach()
# Inside the build the imported targets of pkg-config; physariumConfig.cmake finds them again for an installed library.
foreach(kind static shared)
  target_link_libraries(physarium_${kind} PRIVATE Threads::Threads m ${CMAKE_DL_LIBS})
  foreach(library ${room_libraries})
    target_link_libraries(physarium_${kind} PRIVATE $<BUILD_INTERFACE:${library}>)
  endforeach()
endforeach()
# Symbols of static libraries linked in stay inside.
target_link_options(physarium_shared PRIVATE LINKER:--exclude-libs,ALL)
set_target_properties(physarium_shared PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})

add_library(phy_all INTERFACE)
target_link_libraries(phy_all INTERFACE physarium_static phy_flags Threads::Threads)
foreach(room ${rooms})
  target_include_directories(phy_all INTERFACE ${CMAKE_BINARY_DIR}/rooms/${room})
endforeach()

# ---- installation ----

# Two export sets: who links the shared library needs nothing of what is behind the static one.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/physarium)
foreach(kind static shared)
  install(TARGETS physarium_${kind} EXPORT physarium_${kind})
  install(EXPORT physarium_${kind} NAMESPACE physarium:: DESTINATION ${package_dir})
endforeach()
install(DIRECTORY include/physarium DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY audits/oracle DESTINATION ${CMAKE_INSTALL_DATADIR}/physarium/audits)
install(FILES audits/bounds.json DESTINATION ${CMAKE_INSTALL_DATADIR}/physarium/audits OPTIONAL)

list(JOIN static_modules " " static_modules_text)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/physariumConfig.cmake.in ${CMAKE_BINARY_DIR}/physariumConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/physariumConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/physariumConfig.cmake ${CMAKE_BINARY_DIR}/physariumConfigVersion.cmake
        DESTINATION ${package_dir})

# ${pcfiledir} makes the file right wherever the tree is moved to.
file(RELATIVE_PATH pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
configure_file(${CMAKE_CURRENT_LIST_DIR}/physarium.pc.in ${CMAKE_BINARY_DIR}/physarium.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/physarium.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(FILES docs/physarium.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES tools/completion/physarium.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
        RENAME physarium)
install(FILES tools/completion/_physarium DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES LICENSE README.md NEWS.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md" PATTERN "*.svg")
