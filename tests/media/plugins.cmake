# The plug-in of image files for test_media, which is told where it is, and for programs that find it
# beside themselves, as a host's does; and plug-ins that are refused.
set(images_folder ${CMAKE_CURRENT_BINARY_DIR}/plugins)
foreach(wrong other_version no_table)
  add_library(images_${wrong} MODULE ${CMAKE_CURRENT_LIST_DIR}/plugins/other_version.cc)
  target_link_libraries(images_${wrong} PRIVATE v4i_options)
  set_target_properties(images_${wrong} PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${images_folder})
  add_dependencies(test_media images_${wrong})
endforeach()
target_compile_definitions(images_no_table PRIVATE V4I_TEST_NO_TABLE)
target_compile_definitions(test_media PRIVATE
  V4I_IMAGES_OTHER="${images_folder}/images_other_version.so"
  V4I_IMAGES_NO_TABLE="${images_folder}/images_no_table.so")

if(TARGET v4infer_images)
  math(EXPR formats "0")
  foreach(format PNG=1 JPEG=2 WEBP=4)
    string(REPLACE "=" ";" format ${format})
    list(GET format 0 name)
    if(V4I_IMAGES_${name})
      list(GET format 1 bit)
      math(EXPR formats "${formats} + ${bit}")
    endif()
  endforeach()
  add_dependencies(test_media v4infer_images)
  target_compile_definitions(test_media PRIVATE
    V4I_IMAGES_PLUGIN="$<TARGET_FILE:v4infer_images>" V4I_IMAGES_FORMATS=${formats}u)
  set(beside ${CMAKE_CURRENT_BINARY_DIR}/$<TARGET_FILE_NAME:v4infer_images>)
  add_custom_target(images_beside_tests
    COMMAND ${CMAKE_COMMAND} -E create_symlink $<TARGET_FILE:v4infer_images> ${beside})
  add_dependencies(images_beside_tests v4infer_images)
else()  # plugin_test.cc says what there is instead
  file(GLOB images_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/files_*.cc)
  set_source_files_properties(${images_tests} PROPERTIES HEADER_FILE_ONLY ON)
endif()

function(v4i_beside_images program)
  if(TARGET images_beside_tests)
    add_dependencies(${program} images_beside_tests)
    target_compile_definitions(${program} PRIVATE V4I_IMAGES_FORMATS=${formats}u)
  endif()
endfunction()
