<?php
/**
 * What all tests share.
 */

require_once __DIR__ . '/TestCase.php';
