<?php
/**
 * Counts: questions a visitor, questions of the site, relays at once, and names that are
 * used up. One row a count, in a table of our own, changed by single statements that two
 * requests cannot both win.
 *
 * Addresses are not in it: a row is named by a keyed hash that changes with each window.
 *
 * @package Stagedoor
 */

namespace Stagedoor;

/**
 * The limits.
 */
final class Limiter {

	/**
	 * Count a question at its visitor and at the site, or at neither.
	 *
	 * @param Question $question The question.
	 * @return true|\WP_Error
	 */
	public static function take( Question $question ) {
		$taken = array();
		foreach ( self::limits( $question ) as $limit ) {
			if ( $limit['max'] > 0 && ! self::count( $limit['name'], $limit['max'], $limit['ends'] ) ) {
				foreach ( $taken as $name ) {
					self::give_back( $name );
				}
				$more = array( 'retry_after_s' => max( 1, $limit['ends'] - time() ) );
				return 'site' === $limit['of'] ? Failure::of( 'cap', 429, __( 'This site’s own limit of questions is reached (Settings → Stagedoor → Limits).', 'stagedoor' ), $more ) : Failure::of( 'limit', 429, '', $more );
			}
			$taken[] = $limit['name'];
		}
		return true;
	}

	/**
	 * Uncount a question that the gateway never began to answer.
	 *
	 * @param Question $question The question.
	 * @return void
	 */
	public static function release( Question $question ) {
		foreach ( self::limits( $question ) as $limit ) {
			self::give_back( $limit['name'] );
		}
	}

	/**
	 * What the visitor has left.
	 *
	 * @return array{left: int|null, resets_at: int}
	 */
	public static function left() {
		$limit = self::limit_of( is_user_logged_in() ? 'user' : 'guest', Access::visitor(), null );
		return array(
			'left'      => $limit['max'] > 0 ? max( 0, $limit['max'] - self::used( $limit['name'] ) ) : null,
			'resets_at' => $limit['ends'],
		);
	}

	/**
	 * Both limits of a question.
	 *
	 * @param Question $question The question.
	 * @return array<int, array<string, mixed>>
	 */
	private static function limits( Question $question ) {
		return array(
			self::limit_of( is_user_logged_in() ? 'user' : 'guest', $question->who(), $question ),
			self::limit_of( 'site', '', $question ),
		);
	}

	/**
	 * One limit.
	 *
	 * @param string        $of       guest, user or site.
	 * @param string        $who      Whom it is about.
	 * @param Question|null $question What is asked, where something is.
	 * @return array<string, mixed>
	 */
	private static function limit_of( $of, $who, $question ) {
		$window_s = Settings::WINDOWS[ Settings::get( "limit_{$of}_window" ) ];
		/**
		 * Filters a limit of questions.
		 *
		 * @param array{max: int, window_s: int} $limit    0 is no limit.
		 * @param string                         $of       guest, user or site.
		 * @param Question|null                  $question What is asked, where something is.
		 */
		$limit    = (array) apply_filters( 'stagedoor_rate_limit', array( 'max' => (int) Settings::get( 'limit_' . $of ), 'window_s' => $window_s ), $of, $question );
		$window_s = max( 60, isset( $limit['window_s'] ) ? (int) $limit['window_s'] : $window_s );
		$number   = (int) floor( time() / $window_s );
		return array(
			'of'   => $of,
			'max'  => isset( $limit['max'] ) ? (int) $limit['max'] : 0,
			'ends' => ( $number + 1 ) * $window_s,
			'name' => $of . ':' . Access::hash( 'limit', "{$of}|{$who}|{$window_s}|{$number}" ),
		);
	}

	/**
	 * Use a name up. Whoever is first may go on.
	 *
	 * @param string $name    The name.
	 * @param int    $lives_s How long it stays used.
	 * @return bool Whether this was the first.
	 */
	public static function claim( $name, $lives_s = HOUR_IN_SECONDS ) {
		return self::insert( 'claim:' . Access::hash( 'claim', $name ), 1, time() + $lives_s );
	}

	/**
	 * A name that was used up, and nothing came of it.
	 *
	 * @param string $name As `claim` was told.
	 * @return void
	 */
	public static function unclaim( $name ) {
		global $wpdb;
		$wpdb->delete( self::table(), array( 'name' => 'claim:' . Access::hash( 'claim', $name ) ) );
	}

	/**
	 * A place among the relays: each holds a PHP worker for as long as an answer takes,
	 * and the site needs workers too. It is left at the end of the request at the latest,
	 * however that ends: by a fatal error, or by somebody else's answer instead of ours.
	 *
	 * @param int $lives_s After which it is free again, whatever happened.
	 * @return array{name: string, holder: int}|null The place; null when none is free.
	 */
	public static function enter_relay( $lives_s ) {
		$places = (int) Settings::get( 'relay_max' );
		$ends   = time() + $lives_s;
		$holder = wp_rand( 1, 2147483647 );
		for ( $number = 0; $number < $places; $number++ ) {
			$name = "relay:{$number}";
			if ( self::insert( $name, $holder, $ends ) || self::take_over( $name, $holder, $ends ) ) {
				$place = array( 'name' => $name, 'holder' => $holder );
				register_shutdown_function( array( __CLASS__, 'leave_relay' ), $place );
				return $place;
			}
		}
		return null;
	}

	/**
	 * Leave it, unless it is somebody else's by now.
	 *
	 * @param array{name: string, holder: int} $place As `enter_relay` said.
	 * @return void
	 */
	public static function leave_relay( array $place ) {
		global $wpdb;
		$wpdb->delete( self::table(), array( 'name' => $place['name'], 'hits' => $place['holder'] ) );
	}

	/**
	 * Forget what is over.
	 *
	 * @return void
	 */
	public static function purge() {
		global $wpdb;
		$wpdb->query( $wpdb->prepare( 'DELETE FROM %i WHERE ends_at < %d', self::table(), time() ) );
	}

	/**
	 * Forget one visitor's counts.
	 *
	 * @param int $user_id The user.
	 * @return int How many counts that were.
	 */
	public static function forget_user( $user_id ) {
		global $wpdb;
		$limit = self::limit_of( 'user', Access::user_hash( $user_id ), null );
		return (int) $wpdb->delete( self::table(), array( 'name' => $limit['name'] ) );
	}

	/**
	 * A user's count in the window that runs.
	 *
	 * @param int $user_id The user.
	 * @return int
	 */
	public static function used_by( $user_id ) {
		$limit = self::limit_of( 'user', Access::user_hash( $user_id ), null );
		return self::used( $limit['name'] );
	}

	/**
	 * Where the counts are.
	 *
	 * @return string
	 */
	public static function table() {
		global $wpdb;
		return $wpdb->prefix . 'stagedoor_counts';
	}

	/**
	 * Count one more, if there is room.
	 *
	 * @param string $name The row.
	 * @param int    $max  Its bound.
	 * @param int    $ends When it is over.
	 * @return bool
	 */
	private static function count( $name, $max, $ends ) {
		global $wpdb;
		self::insert( $name, 0, $ends );
		return 1 === $wpdb->query( $wpdb->prepare( 'UPDATE %i SET hits = hits + 1 WHERE name = %s AND hits < %d', self::table(), $name, $max ) );
	}

	/**
	 * Count one less.
	 *
	 * @param string $name The row.
	 * @return void
	 */
	private static function give_back( $name ) {
		global $wpdb;
		$wpdb->query( $wpdb->prepare( 'UPDATE %i SET hits = hits - 1 WHERE name = %s AND hits > 0', self::table(), $name ) );
	}

	/**
	 * How many were counted.
	 *
	 * @param string $name The row.
	 * @return int
	 */
	private static function used( $name ) {
		global $wpdb;
		$quiet = $wpdb->suppress_errors(); // No table, nothing counted: the first question makes it.
		$hits  = (int) $wpdb->get_var( $wpdb->prepare( 'SELECT hits FROM %i WHERE name = %s', self::table(), $name ) );
		$wpdb->suppress_errors( $quiet );
		return $hits;
	}

	/**
	 * Make a row, unless it is there.
	 *
	 * @param string $name The row.
	 * @param int    $hits Its first count.
	 * @param int    $ends When it is over.
	 * @return bool Whether it was made.
	 */
	private static function insert( $name, $hits, $ends ) {
		global $wpdb;
		$insert   = static function () use ( $wpdb, $name, $hits, $ends ) {
			return $wpdb->query( $wpdb->prepare( 'INSERT IGNORE INTO %i (name, hits, ends_at) VALUES (%s, %d, %d)', self::table(), $name, $hits, $ends ) );
		};
		$quiet    = $wpdb->suppress_errors();
		$inserted = $insert();
		$wpdb->suppress_errors( $quiet );
		if ( false === $inserted ) {
			// Sites are moved by tools that know core's tables only: make ours again.
			Install::set_up();
			$inserted = $insert();
		}
		return 1 === $inserted;
	}

	/**
	 * Take a place over whose holder is gone.
	 *
	 * @param string $name   The row.
	 * @param int    $holder Who takes it.
	 * @param int    $ends   When it is over.
	 * @return bool
	 */
	private static function take_over( $name, $holder, $ends ) {
		global $wpdb;
		return 1 === $wpdb->query( $wpdb->prepare( 'UPDATE %i SET hits = %d, ends_at = %d WHERE name = %s AND ends_at < %d', self::table(), $holder, $ends, $name, time() ) );
	}
}
